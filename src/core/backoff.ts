/**
 * Milliseconds until try number `attempt + 1`: doubling, capped, no jitter.
 * Enough inside one VM; what many VMs do at once (requests to the store) is jittered in the store's own retry loop.
 */
export function backoffMs(attempt: number, firstMs: number, capMs: number): number {
  return Math.min(capMs, firstMs * 2 ** Math.min(attempt - 1, 20));
}
