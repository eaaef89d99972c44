import { DEFAULT_CIPHERS } from 'node:tls';

import { EvictdError } from '../base/errors.ts';
import type { SignedHeaders } from './azure-sign.ts';
import type { FetchJob } from './read-job.ts';

/** In every answer of the service: what comes without it, a portal's page with status 200, is somebody else's. */
export const REQUEST_ID = 'x-ms-request-id';
/**
 * Half the key, two thirds of the work of AES-256, and not known to be any weaker; the service has the last word.
 * All else as Node has it.
 */
export const CIPHERS = `TLS_AES_128_GCM_SHA256:${DEFAULT_CIPHERS}`;

interface ServerOptions {
  readonly containerUrl: string;
  readonly ca: string | undefined;
}

/** For the threads, which take no options of Node's own. */
export function serverOf({
  containerUrl,
  ca,
}: ServerOptions): Pick<FetchJob, 'host' | 'port' | 'tls' | 'wantsHeader'> {
  const { protocol, hostname, port } = new URL(containerUrl);
  const isSecure = protocol === 'https:';
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (isSecure ? 443 : 80) : Number(port),
    ...(isSecure && { tls: { ciphers: CIPHERS, ...(ca !== undefined && { ca }) } }),
    wantsHeader: REQUEST_ID,
  };
}

/** Throws `refused` for what would end a line of it. */
export function headOf(method: string, host: string, path: string, headers: SignedHeaders): string {
  const lines = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}`);
  const text = [`${method} ${path} HTTP/1.1`, ...lines];
  if (text.some((line) => /[^\x20-\x7e]/.test(line)))
    throw new EvictdError('refused', 'a header or the credential holds a character that no request may have');
  return `${text.join('\r\n')}\r\n\r\n`;
}
