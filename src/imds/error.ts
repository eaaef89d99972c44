import { EvictdError } from '../base/errors.ts';

const WRONG_SERVICE =
  'check that imds.endpoint is the metadata service, and that nothing answers in its place';

/** What the operator can do about each kind of trouble. */
const REMEDIES = {
  'imds-timeout':
    'wait: the first answer after a boot can take 2 minutes; if it lasts, check that no firewall drops packets to 169.254.169.254',
  'imds-unreachable': 'check the route to 169.254.169.254 and that no firewall or proxy agent blocks it',
  'imds-too-large': WRONG_SERVICE,
  'imds-redirect': 'the metadata service never redirects: check the endpoint for a proxy',
  'imds-not-found':
    'wait: it is normal just after a boot; if it lasts, check imds.endpoint and imds.apiVersion',
  'imds-updating': 'wait: the service is being updated, which takes about a minute',
  'imds-throttled':
    'the service allows 5 requests a second for all processes of the VM: look for others, or poll less often',
  'imds-server-error': 'wait: the service is in trouble; if it lasts, look at the resource health of the VM',
  'imds-refused': 'check imds.endpoint and imds.apiVersion, and that no proxy answers in its place',
  'imds-empty': WRONG_SERVICE,
  'imds-not-json': WRONG_SERVICE,
  'imds-bad-document': WRONG_SERVICE,
};

export function imdsError(code: keyof typeof REMEDIES, message: string, cause?: unknown): EvictdError {
  return new EvictdError(code, message, { remedy: REMEDIES[code], cause });
}
