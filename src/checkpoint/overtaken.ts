import { EvictdError } from '../base/errors.ts';

/** Who runs: one VM between two boots, whichever process. */
export interface Owner {
  readonly vmName: string;
  readonly vmId: string;
  readonly bootId: string;
}

/** Whether metadata of a blob says that a process of this VM wrote it, in this boot. */
export function isOwnVm(
  { vmName, vmId, bootId }: Owner,
  metadata: Readonly<Record<string, string>> | undefined,
): boolean {
  return (
    metadata?.['evictd_vm_name'] === printable(vmName) &&
    metadata['evictd_vm_id'] === printable(vmId) &&
    metadata['evictd_boot_id'] === printable(bootId)
  );
}

/** `evictd checkpoint` ran on its own beside the daemon, or the other way round: what it wrote is what we go on from. */
export function overtaken(name: string, cause: unknown): EvictdError {
  return new EvictdError(
    'overtaken',
    `another evictd process of this VM took a checkpoint meanwhile: ${name} is newer than expected`,
    { remedy: 'nothing is lost; the next attempt goes on from that checkpoint', cause },
  );
}

/** As metadata of a blob can hold it. */
export function printable(text: string): string {
  return text.replace(/[^ -~]/g, '?').trim() || 'unknown';
}
