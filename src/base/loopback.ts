import { isIP } from 'node:net';

/** The host of a URL, which is this machine itself. RFC 6761 reserves localhost and all names below it for that. */
export function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  if (isIP(host) === 4) return host.startsWith('127.');
  return host === '::1' || host === 'localhost' || host.endsWith('.localhost');
}

/** What is wrong with such a URL where it or what is sent holds a secret, and the remedy. */
export const PLAIN_HTTP = ['plain http is only accepted for this machine itself', 'write https://'] as const;
