import { isIP } from 'node:net';

import { isLoopback } from '../base/loopback.ts';
import { parseHttpUrl } from './schema-leaf.ts';

export interface UrlFault {
  /** Completes the sentence "URL is …". */
  readonly message: string;
  readonly params?: { readonly allowed: string };
}

/**
 * Says what is wrong with the store's URL, whatever the authentication.
 * Names of containers: learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
 */
export function storeUrlFault(value: string): UrlFault | undefined {
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
export function encryptionFault(value: string, auth: string): UrlFault | undefined {
  const url = parseHttpUrl(value);
  if (url?.protocol !== 'http:' || auth === 'azurite') return undefined;
  if (auth !== 'managed-identity' && isLoopback(url.hostname)) return undefined;
  return unencrypted(`the secrets of auth ${auth}`);
}

/** The same of a URL, valid or not, that always goes with a secret. */
export function plainHttpFault(value: string, secrets: string): UrlFault | undefined {
  const url = parseHttpUrl(value);
  return url?.protocol !== 'http:' || isLoopback(url.hostname) ? undefined : unencrypted(secrets);
}

function unencrypted(secrets: string): UrlFault {
  return { message: `unencrypted, and would carry ${secrets}`, params: { allowed: 'an https URL' } };
}

/** The emulator names the account in the path (`/ACCOUNT/CONTAINER`), Azure in the host name. */
function isPathStyle(hostname: string): boolean {
  return isIP(unbracketed(hostname)) !== 0 || !hostname.includes('.');
}

function isContainerName(value: string): boolean {
  return /^(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*$/.test(value);
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
