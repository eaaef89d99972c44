import type { Clock, MonotonicMs } from '../base/clock.ts';

/** How much of a set is in the store, file by file, against its last scan. */
export interface SetTracker {
  readonly files: number;
  readonly bytes: number;
  readonly bytesStored: number;
  /** A new scan: files that aren't in it are forgotten, and every file counts as not stored until `store` says so. */
  scanned(files: Iterable<{ readonly path: string; readonly size: number }>): void;
  /** `bytes` of the file at `path` are in the store, in total. */
  store(path: string, bytes: number): void;
}

/** What was done since the start of the process. */
export interface SetActivity {
  filesRead: number;
  bytesRead: number;
  bytesSent: number;
  /** How often all files were looked at. */
  scans: number;
  /** Sockets, pipes and devices that the last scan left out. */
  specials: number;
}

export function createTracker(): SetTracker {
  const sizes = new Map<string, { readonly size: number; stored: number }>();
  let bytes = 0;
  let bytesStored = 0;
  return {
    get files() {
      return sizes.size;
    },
    get bytes() {
      return bytes;
    },
    get bytesStored() {
      return bytesStored;
    },
    scanned(files) {
      sizes.clear();
      bytes = 0;
      bytesStored = 0;
      for (const { path, size } of files) {
        sizes.set(path, { size, stored: 0 });
        bytes += size;
      }
    },
    store(path, total) {
      const file = sizes.get(path);
      if (file === undefined) return;
      const stored = Math.min(total, file.size);
      bytesStored += stored - file.stored;
      file.stored = stored;
    },
  };
}

/** Bytes per second while something is being sent: pauses don't lower it. */
export interface RateMeter {
  /** A request with `bytes` of content begins; call the answer with what came of it. */
  begin(bytes: number): (sent: boolean) => void;
  readonly bytesPerSecond: number | undefined;
}

const SAMPLE_MS_MIN = 100;
/** The rate of so long ago still counts by a third. */
const MEMORY_MS = 5000;

export function createRateMeter(clock: Clock): RateMeter {
  let inFlight = 0;
  let busySince: MonotonicMs = 0;
  let sampleMs = 0;
  let sampleBytes = 0;
  let rate: number | undefined;

  const current = () => {
    if (sampleMs === 0 || sampleBytes === 0) return rate;
    const sample = (sampleBytes / sampleMs) * 1000;
    const weight = 1 - Math.exp(-sampleMs / MEMORY_MS);
    return rate === undefined ? sample : rate + (sample - rate) * weight;
  };

  return {
    begin(bytes) {
      const now = clock.monotonicMs();
      if (inFlight === 0) busySince = now;
      inFlight++;
      return (sent) => {
        const at = clock.monotonicMs();
        inFlight--;
        // A sample is closed when time has moved on: requests that end together belong to the same one.
        if (at > busySince && sampleMs >= SAMPLE_MS_MIN && sampleBytes > 0) {
          rate = current();
          sampleMs = 0;
          sampleBytes = 0;
        }
        sampleMs += at - busySince;
        busySince = at;
        if (sent) sampleBytes += bytes;
      };
    },
    get bytesPerSecond() {
      return current();
    },
  };
}
