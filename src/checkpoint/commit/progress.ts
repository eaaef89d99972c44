import type { Clock, MonotonicMs } from '../../base/clock.ts';

/** How much of a set is in the store, file by file, against its last scan. */
export interface SetTracker {
  readonly files: number;
  readonly bytes: number;
  readonly bytesStored: number;
  /** Begins to count the files of a new scan. */
  count(): Tally;
  /** `bytes` more of the file at `path`, which was not stored at the last scan, are in the store by now. */
  store(path: string, bytes: number): void;
}

/** The files of a scan, one by one; they take the place of the last scan's once it is `done`. */
export interface Tally {
  add(path: string, size: number, isStored: boolean): void;
  done(): void;
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

interface Counted {
  files: number;
  bytes: number;
  bytesStored: number;
  /** Files that were not stored: nearly always few of all. */
  readonly left: Map<string, { readonly size: number; stored: number }>;
}

export function createTracker(): SetTracker {
  const nothing = (): Counted => ({ files: 0, bytes: 0, bytesStored: 0, left: new Map() });
  let last = nothing();
  return {
    get files() {
      return last.files;
    },
    get bytes() {
      return last.bytes;
    },
    get bytesStored() {
      return last.bytesStored;
    },
    count() {
      const next = nothing();
      return {
        add(path, size, isStored) {
          next.files++;
          next.bytes += size;
          if (isStored) next.bytesStored += size;
          else next.left.set(path, { size, stored: 0 });
        },
        done: () => void (last = next),
      };
    },
    store(path, more) {
      const file = last.left.get(path);
      if (file === undefined) return;
      const stored = Math.min(file.stored + more, file.size);
      last.bytesStored += stored - file.stored;
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
