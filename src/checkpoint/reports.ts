import { forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { CHECKPOINTS, DRILL, FILES, keyPrefix } from './blob-name.ts';
import type { BlobStore } from './store.ts';

/** Where the reports of drains lie: `PREFIX/KEY/reports/EVENT-ID.json`, and the same as a page in `.html`. */
const REPORTS = 'reports/';

interface Place {
  readonly prefix: string;
  readonly key: string;
}

export interface ReportFile {
  readonly extension: 'json' | 'html';
  readonly contentType: string;
  readonly body: Uint8Array;
}

export interface StoredReport {
  readonly key: string;
  /** As its file is called. */
  readonly eventId: string;
  /** Epoch ms by the server's clock. */
  readonly modifiedAt: number;
}

/** A store whose folders can be looked at level by level. */
export interface FolderStore extends BlobStore {
  /** Names of the folders right below `prefix`, each from the container's root and with a slash at its end. */
  folders(prefix: string, signal: AbortSignal): AsyncIterable<string>;
}

const REPORT_BYTES_MAX = 4 * 1024 * 1024;
const IN_FLIGHT = 8;
/** Keys of VMs in scale sets in regions: nobody nests deeper. */
const KEY_SEGMENTS_MAX = 8;

/** Writes the files of a report; the newest of an event stands. Rejects with the store's errors. */
export async function writeReport(
  store: BlobStore,
  place: Place,
  eventId: string,
  files: readonly ReportFile[],
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(files.map((file) => writeFile(store, place, eventId, file, signal)));
}

async function writeFile(
  store: BlobStore,
  place: Place,
  eventId: string,
  { extension, contentType, body }: ReportFile,
  signal: AbortSignal,
): Promise<void> {
  const name = reportName(place, eventId, extension);
  const write = { metadata: {}, contentType };
  try {
    await store.put(name, body, { ...write, condition: { ifNone: true } }, signal);
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'conflict')) throw error;
    const head = await store.head(name, signal);
    if (head === undefined) throw error;
    await store.put(name, body, { ...write, condition: { ifEtag: head.etag } }, signal);
  }
}

/** The text of a report's JSON. Rejects `not-found` and the store's other errors. */
export async function readReport(
  store: BlobStore,
  place: Place,
  eventId: string,
  signal: AbortSignal,
): Promise<string> {
  const name = reportName(place, eventId, 'json');
  return Buffer.from(await store.read(name, { bytesMax: REPORT_BYTES_MAX }, signal)).toString('utf8');
}

/** The reports below one key, in no order. */
export async function listReports(
  store: BlobStore,
  place: Place,
  signal: AbortSignal,
): Promise<StoredReport[]> {
  const below = `${keyPrefix(place)}${REPORTS}`;
  const reports: StoredReport[] = [];
  for await (const { name, modifiedAt } of store.list(below, signal)) {
    const eventId = /^([A-Za-z0-9_-]+)\.json$/.exec(name.slice(below.length))?.[1];
    if (eventId !== undefined) reports.push({ key: place.key, eventId, modifiedAt });
  }
  return reports;
}

/** Every key below the prefix that has reports. Looks at folders only, never at the files of a set. */
export async function findReportKeys(
  store: FolderStore,
  prefix: string,
  signal: AbortSignal,
): Promise<string[]> {
  const root = prefix === '' ? '' : `${prefix}/`;
  const keys: string[] = [];
  let level = [root];
  for (let depth = 0; depth <= KEY_SEGMENTS_MAX && level.length > 0; depth++) {
    const next: string[] = [];
    await forEachLimit(level, IN_FLIGHT, signal, async (folder, inner) => {
      const found: string[] = [];
      for await (const name of store.folders(folder, inner)) found.push(name);
      const has = (name: string) => found.includes(`${folder}${name}`);
      if (has(REPORTS) && folder !== root) keys.push(folder.slice(root.length, -1));
      // What has these is a set; its files can be many. What a drill was killed over is no key.
      if (!has(FILES) && !has(CHECKPOINTS))
        next.push(...found.filter((name) => !name.endsWith(`/${REPORTS}`) && !name.endsWith(`/${DRILL}`)));
    });
    level = next;
  }
  return keys.sort();
}

function reportName(place: Place, eventId: string, extension: string): string {
  return `${keyPrefix(place)}${REPORTS}${safeName(eventId)}.${extension}`;
}

/** Event ids are GUIDs; what claims to be one and isn't must not choose a path in the store. */
function safeName(eventId: string): string {
  return eventId.replaceAll(/[^A-Za-z0-9-]/g, '_').slice(0, 100);
}
