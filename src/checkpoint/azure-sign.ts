import { StorageSharedKeyCredential } from '@azure/storage-blob';

import { AssertionFailed } from '../base/assert.ts';
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

/** Rejects `no-token`. */
export type Signer = (request: Unsigned) => Promise<Signature>;

/** What makes a request of ours one that the service accepts: token, shared key, or shared access signature. */
export function createSigner(dependencies: {
  readonly credential: StoreCredential;
  readonly tokens: TokenSource | undefined;
}): Signer {
  const { credential, tokens } = dependencies;
  switch (credential.kind) {
    case 'signature':
      return async ({ query }) => ({
        authorization: undefined,
        query: `?${query === '' ? '' : `${query}&`}${credential.query}`,
      });
    case 'account-key':
      return withSharedKey(new StorageSharedKeyCredential(credential.account, credential.key));
    case 'identity':
      return async ({ query }) => {
        const token = tokens?.current();
        if (token === undefined) throw new EvictdError('no-token', 'there is no token at the moment');
        return { authorization: `Bearer ${token}`, query: marked(query) };
      };
  }
}

function marked(query: string): string {
  return query === '' ? '' : `?${query}`;
}

type Create = StorageSharedKeyCredential['create'];
type NextPolicy = Parameters<Create>[0];
type PolicyOptions = Parameters<Create>[1];
type WebResource = Parameters<ReturnType<Create>['sendRequest']>[0];

/** The text to sign has rules of its own, down to the order of header names; they are left to the SDK. */
function withSharedKey(credential: StorageSharedKeyCredential): Signer {
  // The policy signs and hands on, and asks its options for nothing.
  const next = { sendRequest: async () => undefined } as unknown as NextPolicy;
  const policy = credential.create(next, {} as unknown as PolicyOptions);
  return async ({ method, url, query, headers }) => {
    const values = new Map(Object.entries(headers));
    const resource = {
      method,
      url: `${url}${marked(query)}`,
      headers: {
        get: (name: string) => values.get(name.toLowerCase()),
        set(name: string, value: string) {
          // It would set the date anew, but what goes out is the one that is there.
          if (name.toLowerCase() !== 'x-ms-date') values.set(name.toLowerCase(), value);
        },
        headersArray: () => [...values].map(([name, value]) => ({ name, value })),
      },
    };
    // The policy reads no more of a request than this.
    await policy.sendRequest(resource as unknown as WebResource);
    const authorization = values.get('authorization');
    if (authorization === undefined) throw new AssertionFailed('the SDK has not signed the request');
    return { authorization, query: marked(query) };
  };
}
