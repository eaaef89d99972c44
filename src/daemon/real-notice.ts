import { EvictdError } from '../base/errors.ts';

/** Why a drill ends at once and leaves the machine to the running daemon. */
export function realNotice(): EvictdError {
  return new EvictdError('real-notice', 'this VM is really being evicted, so the drill was stopped', {
    remedy: '`evictd status` shows the real drain',
  });
}

export function isRealNotice({ reason }: AbortSignal): boolean {
  return reason instanceof EvictdError && reason.code === 'real-notice';
}
