import { DEFAULT_CIPHERS } from 'node:tls';

import { addressOf } from '../base/http-order.ts';
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
  const { isSecure, ...address } = addressOf(containerUrl);
  return {
    ...address,
    ...(isSecure && { tls: { ciphers: CIPHERS, ...(ca !== undefined && { ca }) } }),
    wantsHeader: REQUEST_ID,
  };
}
