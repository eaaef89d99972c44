import { EvictdError } from '../base/errors.ts';
import type { StoreCredential } from './credentials.ts';
import type { TokenSource } from './token.ts';

export type SignedHeaders = Readonly<Record<string, string>>;

export interface Unsigned {
  readonly method: string;
  /** Without the query. */
  readonly url: string;
  /** Encoded, without the question mark; may be empty. */
  readonly query: string;
  /** By lower-case name, `x-ms-date` among them. */
  readonly headers: SignedHeaders;
}

export interface Signature {
  readonly authorization: string | undefined;
  /** The query as it goes out, with its question mark: a shared access signature is part of it. */
  readonly query: string;
}

/** At once where nothing has to be loaded. Throws or rejects `no-token`. */
export type Signer = (request: Unsigned) => Signature | Promise<Signature>;

/** What makes a request of ours one that the service accepts: token, shared key, or shared access signature. */
export function createSigner(dependencies: {
  readonly credential: StoreCredential;
  readonly tokens: TokenSource | undefined;
}): Signer {
  const { credential, tokens } = dependencies;
  switch (credential.kind) {
    case 'signature':
      return ({ query }) => ({
        authorization: undefined,
        query: `?${query === '' ? '' : `${query}&`}${credential.query}`,
      });
    case 'account-key':
      return withSharedKey(credential.account, credential.key);
    case 'identity':
      return ({ query }) => {
        const token = tokens?.current();
        if (token === undefined) throw new EvictdError('no-token', 'there is no token at the moment');
        return { authorization: `Bearer ${token}`, query: marked(query) };
      };
  }
}

function marked(query: string): string {
  return query === '' ? '' : `?${query}`;
}

/** By the SDK, which is loaded only where a key is used: it takes 5 MiB. */
function withSharedKey(account: string, key: string): Signer {
  const load = async () => (await import('./azure-shared-key.ts')).createSharedKeySigner(account, key);
  let loaded: ReturnType<typeof load> | undefined;
  return async ({ method, url, query, headers }) => {
    const sign = await (loaded ??= load());
    const authorization = await sign({ method, url: `${url}${marked(query)}`, headers });
    return { authorization, query: marked(query) };
  };
}
