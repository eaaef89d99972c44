import { bytesOf } from '../../index/chunk-range.ts';
import type { PackList } from '../own/pack-list.ts';
import type { RateMeter } from '../progress.ts';
import type { SetWork } from '../set-work.ts';
import type { UploadWatcher } from './upload.ts';

/** What the index, the counts and the rate learn from an upload. */
export function watcherOf(
  work: SetWork,
  packs: PackList,
  meter: RateMeter,
  onVersioned: () => void,
): UploadWatcher {
  const { index, tracker, activity } = work;
  const underWay = new Map<string, (sent: boolean) => void>();
  return {
    onRead(path, bytes, bytesStored) {
      activity.bytesRead += bytes;
      if (bytesStored > 0) tracker.store(path, bytesStored);
    },
    onPack(event) {
      if (event.kind === 'began') {
        underWay.set(event.name, meter.begin(event.bytes));
        return;
      }
      underWay.get(event.name)?.(event.kind === 'stored');
      underWay.delete(event.name);
      if (event.kind !== 'stored') return;
      if (event.isVersioned) onVersioned();
      activity.bytesSent += event.bytes;
      packs.add(event.name, event.bytes);
      index.notePack(event.name, event.bytes);
    },
    onPartStored(path, from, { before, chunks }) {
      index.setPart(path, before, from, chunks);
      tracker.store(path, bytesOf(chunks));
    },
  };
}
