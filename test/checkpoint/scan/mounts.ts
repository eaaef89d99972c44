import { execFileSync, spawnSync } from 'node:child_process';

/** What is mounted until it is disposed; undefined where that can't be done: only root may mount. */
export async function mount(options: readonly string[], at: string): Promise<AsyncDisposable | undefined> {
  if (spawnSync('mount', [...options, at], { stdio: 'ignore' }).status !== 0) return undefined;
  return {
    async [Symbol.asyncDispose]() {
      execFileSync('umount', [at]);
    },
  };
}

const DEAD_FUSE = `
import ctypes, os, sys
fd = os.open('/dev/fuse', os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f'fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other'.encode()
sys.exit(libc.mount(b'fuse', sys.argv[1].encode(), b'fuse', 0, options))
`;

/** A FUSE mount whose process has ended: everything in it answers ENOTCONN. */
export async function mountDeadFuse(at: string): Promise<AsyncDisposable | undefined> {
  if (spawnSync('python3', ['-c', DEAD_FUSE, at], { stdio: 'ignore' }).status !== 0) return undefined;
  return {
    async [Symbol.asyncDispose]() {
      execFileSync('umount', [at]);
    },
  };
}
