import { readlinkSync, statSync, utimesSync } from 'node:fs';

/** What Node has no function for. Opened for one restore, since a library that is open costs memory. */
export interface SystemCalls extends Disposable {
  /** Where the open file or folder `fd` is, for node:fs; one opened as a link is the link itself. */
  locationOf(fd: number): string;
  /**
   * Sets the time of the last write, epoch ns, and leaves the one of the last read. Throws the system's error. Without
   * node:ffi it is good to a microsecond, before 1970 to a millisecond.
   */
  setTime(location: string, mtimeNs: bigint): void;
  /** Waits until all of the file system that `fd` is on is on disk. False: it can't, or not all of it is. */
  syncAll(fd: number): boolean;
  /** Locks an open file until its descriptor is closed, however the process ends. `unknown`: there is no way to lock it. */
  lock(fd: number): 'locked' | 'held' | 'unknown';
}

/* Of Linux: fcntl.h, sys/stat.h, sys/file.h, errno.h; the same on x86-64 and arm64. */
const AT_FDCWD = -100;
const UTIME_OMIT = 0x3ffffffen;
const LOCK_EX_NB = 2 | 4;
const EWOULDBLOCK = 11;
const SECOND_NS = 1_000_000_000n;

/** By node:ffi (Node 26.1 and the C library); what there is without it is said at each function. */
export function openSystemCalls(): SystemCalls {
  // Looking up "self" anew costs a quarter of each call.
  const own = `/proc/${readlinkSync('/proc/self')}/fd/`;
  const locationOf = (fd: number) => `${own}${fd}`;
  const library = openLibrary();
  if (library === undefined) {
    return {
      locationOf,
      setTime: setTimeByNode,
      syncAll: () => false,
      lock: () => 'unknown',
      [Symbol.dispose]: () => undefined,
    };
  }
  const { ffi, opened } = library;
  const { utimensat, syncfs, flock, __errno_location: errnoLocation } = opened.functions;
  const times = new BigInt64Array([0n, UTIME_OMIT, 0n, 0n]);
  return {
    locationOf,
    setTime(location, mtimeNs) {
      const nanoseconds = ((mtimeNs % SECOND_NS) + SECOND_NS) % SECOND_NS;
      times[2] = (mtimeNs - nanoseconds) / SECOND_NS;
      times[3] = nanoseconds;
      // Node says what is wrong.
      if (utimensat(AT_FDCWD, location, times, 0) !== 0) setTimeByNode(location, mtimeNs);
    },
    syncAll: (fd) => syncfs(fd) === 0,
    lock(fd) {
      if (flock(fd, LOCK_EX_NB) === 0) return 'locked';
      return ffi.getInt32(errnoLocation()) === EWOULDBLOCK ? 'held' : 'unknown';
    },
    [Symbol.dispose]: () => opened[Symbol.dispose](),
  };
}

function openLibrary() {
  try {
    const ffi = process.getBuiltinModule('node:ffi');
    const opened = ffi.dlopen(null, {
      utimensat: { arguments: ['int32', 'pointer', 'pointer', 'int32'], return: 'int32' },
      syncfs: { arguments: ['int32'], return: 'int32' },
      flock: { arguments: ['int32', 'int32'], return: 'int32' },
      __errno_location: { arguments: [], return: 'pointer' },
    });
    return { ffi, opened };
  } catch {
    return undefined;
  }
}

/** Node takes seconds as a double and cuts it down: aim for the middle of a microsecond. It takes no negative number. */
function setTimeByNode(location: string, mtimeNs: bigint): void {
  const { atimeMs } = statSync(location);
  const time = mtimeNs < 0n ? new Date(Number(mtimeNs) / 1e6) : (Number(mtimeNs / 1000n) + 0.5) / 1e6;
  utimesSync(location, new Date(atimeMs), time);
}
