/*
 * The parts of undici that plain HTTP/1.1 needs. Its index has fetch, WebSocket, caches and mocks as well, which no
 * daemon asks for: to load them takes each start 25 ms.
 */

declare module 'undici/lib/dispatcher/pool.js' {
  import { Pool } from 'undici';
  export = Pool;
}

declare module 'undici/lib/core/connect.js' {
  import { buildConnector } from 'undici';
  export = buildConnector;
}

declare module 'undici/lib/core/symbols.js' {
  const symbols: {
    /**
     * Option of a request, as undici's own `request()` uses it: is called when the request has to wait for a connection,
     * with what takes it out of the queue.
     */
    readonly kQueuedAbort: unique symbol;
  };
  export = symbols;
}
