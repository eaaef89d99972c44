/** Where a sending thread connects to. */
export interface HttpOrigin {
  readonly host: string;
  readonly port: number;
  /** Absent: not encrypted. */
  readonly tls?: { readonly ciphers: string; readonly ca?: string };
  readonly connectMs: number;
  /** After so long without a request a connection is closed. */
  readonly idleMs: number;
}

export interface HttpRequest {
  /** Request line and headers, up to and with the empty line; Latin-1. */
  readonly head: string;
  readonly body: Uint8Array | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  /** Lower-case names; of a header that comes twice the last one. */
  readonly headers: ReadonlyMap<string, string>;
}

export type HttpOutcome =
  | ({ readonly kind: 'answer' } & HttpAnswer)
  /** Not HTTP, or too long. */
  | { readonly kind: 'unreadable' }
  /** A system error, or one of TLS. */
  | { readonly kind: 'failed'; readonly errno: string; readonly message: string };

/** Without a request: the one of that number isn't wanted any more. */
export type HttpOrders = readonly (readonly [number: number, request: HttpRequest | undefined])[];
export type HttpOutcomes = readonly (readonly [number: number, outcome: HttpOutcome])[];
