import type { Answer } from './http-listener.ts';

/** For load balancers: 200, and 503 from the first moment of a drain until everything is undone after a withdrawal. */
export function healthPage(drain: { readonly phase: string } | undefined): Answer {
  const body = drain === undefined ? { status: 'ok' } : { status: 'draining', phase: drain.phase };
  return {
    status: drain === undefined ? 200 : 503,
    contentType: 'application/json',
    body: `${JSON.stringify(body)}\n`,
  };
}
