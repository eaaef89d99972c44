import { isIP } from 'node:net';

import { EvictdError } from '../../../base/errors.ts';
import { PLAIN_HTTP, isLoopback } from '../../../base/loopback.ts';
import { blobNameProblem } from './blob-name.ts';

/** Where checkpoints go, taken apart. */
export interface StoreTarget {
  /** Without a trailing slash and without the prefix. */
  readonly containerUrl: string;
  readonly account: string;
  readonly container: string;
  /** Without slashes at its ends; empty when there is none. */
  readonly prefix: string;
  /** The account is the first segment of the path (emulators), not the first label of the host. */
  readonly pathStyle: boolean;
}

// learn.microsoft.com: Naming and Referencing Containers, Blobs, and Metadata
const CONTAINER = /^(?:\$root|[a-z0-9](?:-?[a-z0-9]){2,62})$/;
const EXAMPLE = 'https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]';

/**
 * Takes a store URL apart: `https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]` (any cloud, private endpoints)
 * or, for an IP address or localhost, `http://127.0.0.1:10000/ACCOUNT/CONTAINER[/PREFIX]`.
 * Throws `bad-store-url`; the message never repeats the user information or the query of the URL.
 */
export function parseStoreUrl(text: string): StoreTarget {
  const url = readUrl(text);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const pathStyle = isIP(host) !== 0 || host === 'localhost';
  if (url.protocol === 'http:' && !isLoopback(host)) {
    const [problem, remedy] = PLAIN_HTTP;
    throw bad(`${problem}, not for ${host}`, remedy);
  }
  const segments = decodePath(url.pathname);
  const account = pathStyle ? segments.shift() : host.split('.')[0];
  const container = segments.shift();
  if (account === undefined || account === '')
    throw bad(`${url.host}${url.pathname} names no account`, EXAMPLE);
  if (container === undefined) {
    throw bad(`${url.host}${url.pathname} names no container`, `add it: ${EXAMPLE}`);
  }
  if (!CONTAINER.test(container)) {
    throw bad(
      `${JSON.stringify(container)} can't be a container's name`,
      'use 3 to 63 lower-case letters, digits and single dashes',
    );
  }
  const prefix = segments.join('/');
  const problem = prefix === '' ? undefined : blobNameProblem(prefix);
  if (problem !== undefined)
    throw bad(`the prefix ${JSON.stringify(prefix)} ${problem}`, 'choose another prefix');
  const path = pathStyle ? `/${encodeURIComponent(account)}/${container}` : `/${container}`;
  return { containerUrl: `${url.origin}${path}`, account, container, prefix, pathStyle };
}

function readUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null) throw bad('the text is not a URL', `write ${EXAMPLE}`);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw bad(`${url.protocol} is not a protocol of Blob Storage`, `write ${EXAMPLE}`);
  }
  if (url.username !== '' || url.password !== '') {
    throw bad('it has a user name or password', 'remove them; credentials belong into checkpoint.store.auth');
  }
  if (url.search !== '') {
    throw bad(
      'it has a query string',
      'remove everything from the ? on; put a shared access signature into a file and name it with auth: { kind: sas, file: … }',
    );
  }
  if (url.hash !== '') throw bad('it has a # part', 'remove everything from the # on');
  return url;
}

function decodePath(path: string): string[] {
  try {
    return path
      .split('/')
      .map(decodeURIComponent)
      .filter((segment) => segment !== '');
  } catch (error) {
    throw new EvictdError(
      'bad-store-url',
      "the store's URL is not usable: its path has a broken % sequence",
      {
        remedy: 'write a literal % as %25',
        cause: error,
      },
    );
  }
}

function bad(problem: string, remedy: string): EvictdError {
  return new EvictdError('bad-store-url', `the store's URL is not usable: ${problem}`, { remedy });
}
