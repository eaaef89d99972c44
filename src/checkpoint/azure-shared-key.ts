import { StorageSharedKeyCredential } from '@azure/storage-blob';

import { AssertionFailed } from '../base/assert.ts';

export interface SharedKeyRequest {
  readonly method: string;
  /** With the query. */
  readonly url: string;
  /** By lower-case name, `x-ms-date` among them. */
  readonly headers: Readonly<Record<string, string>>;
}

type Create = StorageSharedKeyCredential['create'];
type NextPolicy = Parameters<Create>[0];
type PolicyOptions = Parameters<Create>[1];
type WebResource = Parameters<ReturnType<Create>['sendRequest']>[0];

/**
 * Answers the authorization of a request. The text to sign has rules of its own, down to the order of header names; they
 * are left to the SDK.
 */
export function createSharedKeySigner(
  account: string,
  key: string,
): (request: SharedKeyRequest) => Promise<string> {
  const credential = new StorageSharedKeyCredential(account, key);
  // The policy signs and hands on, and asks its options for nothing.
  const next = { sendRequest: async () => undefined } as unknown as NextPolicy;
  const policy = credential.create(next, {} as unknown as PolicyOptions);
  return async ({ method, url, headers }) => {
    const values = new Map(Object.entries(headers));
    const resource = {
      method,
      url,
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
    return authorization;
  };
}
