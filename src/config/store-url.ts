import { isIP } from 'node:net';

import { parseHttpUrl } from './schema-leaf.ts';

export interface StoreUrlFault {
  /** Completes the sentence "URL is …". */
  readonly message: string;
  readonly params?: { readonly allowed: string };
}

/**
 * Says what is wrong with the store's URL, whatever the authentication.
 * Names of containers: learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
 */
export function storeUrlFault(value: string): StoreUrlFault | undefined {
  const url = parseHttpUrl(value);
  if (url === undefined) return { message: 'not an http or https URL' };
  if (url.search !== '' || url.hash !== '') {
    return {
      message: 'a URL with a query',
      params: {
        allowed:
          'a URL without one; a SAS token belongs in a file of its own: auth: { kind: sas, file: FILE }',
      },
    };
  }
  const [container] = url.pathname.split('/').slice(isPathStyle(url.hostname) ? 2 : 1);
  if (container === undefined || container === '') return { message: 'without a container' };
  if (!isContainerName(container)) {
    const allowed = 'a container name of 3 to 63 lower-case letters, digits and single "-"';
    return { message: 'without a valid container name', params: { allowed } };
  }
  return decodeURIComponentSafely(url.pathname)?.split('/').includes('..') === false
    ? undefined
    : { message: 'not a usable path' };
}

/** Says whether a valid URL would send secrets of that kind of authentication in the clear. */
export function encryptionFault(value: string, auth: string): StoreUrlFault | undefined {
  const url = parseHttpUrl(value);
  if (url?.protocol !== 'http:' || auth === 'azurite') return undefined;
  if (auth !== 'managed-identity' && isLoopback(url.hostname)) return undefined;
  return {
    message: `unencrypted, and would carry the secrets of auth ${auth}`,
    params: { allowed: 'an https URL' },
  };
}

/** The emulator names the account in the path (`/ACCOUNT/CONTAINER`), Azure in the host name. */
function isPathStyle(hostname: string): boolean {
  return isIP(unbracketed(hostname)) !== 0 || !hostname.includes('.');
}

function isContainerName(value: string): boolean {
  return /^(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*$/.test(value);
}

function isLoopback(hostname: string): boolean {
  const host = unbracketed(hostname);
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function unbracketed(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

function decodeURIComponentSafely(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    // Broken percent-encoding: the caller refuses the URL.
    return undefined;
  }
}
