import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Bounds how many connections a server holds. Beyond, the one that has been without a whole request for longest gives way
 * to the new one: whoever opens connections and asks nothing, or slowly, or holds answered ones, keeps nobody out who asks.
 * One whose request is being answered stays.
 */
export function boundConnections(server: Server, connectionsMax: number): void {
  const open = new Set<Socket>();
  /** Of them; the first has waited for longest. */
  const idle = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    idle.add(socket);
    socket.once('close', () => {
      open.delete(socket);
      idle.delete(socket);
    });
    // With all others being answered, that is the new one itself.
    if (open.size > connectionsMax) idle.values().next().value?.destroy();
  });
  server.on('request', ({ socket }, response) => {
    idle.delete(socket);
    response.once('close', () => {
      if (!socket.destroyed) idle.add(socket);
    });
  });
}
