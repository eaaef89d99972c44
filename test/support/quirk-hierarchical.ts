import { type Quirk, type QuirkAnswer, type QuirkRequest, isListing, isWrite, refusal } from './quirk.ts';

const SEGMENTS_MAX = 61;

/**
 * An account with a hierarchical namespace: folders come with what is in them, stay without, and are listed as empty
 * blobs; a name is a file or a folder, never both; there are no snapshots.
 */
export function hierarchical(): Quirk {
  const files = new Set<string>();
  const folders = new Set<string>();
  /** The last blob before a page's marker. */
  const endOf = new Map<string, string>();
  return {
    before(request) {
      const { method, name, query } = request;
      if (query.get('comp') === 'snapshot')
        return refusal(409, 'FeatureNotYetSupportedForHierarchicalNamespaceAccounts');
      if (isWrite(request)) {
        if (name.split('/').length > SEGMENTS_MAX) return refusal(400, 'InvalidUri');
        if (folders.has(name) || parentsOf(name).some((parent) => files.has(parent)))
          return refusal(409, 'ResourceTypeMismatch');
      }
      if (method !== 'DELETE' || !folders.has(name)) return undefined;
      if ([...files, ...folders].some((other) => other.startsWith(`${name}/`)))
        return refusal(409, 'DirectoryIsNotEmpty');
      folders.delete(name);
      return { ...refusal(202, ''), body: Buffer.alloc(0) };
    },
    after(request, answer) {
      if (isWrite(request) && answer.status === 201) {
        files.add(request.name);
        for (const parent of parentsOf(request.name)) folders.add(parent);
      }
      if (request.method === 'DELETE' && answer.status === 202) files.delete(request.name);
      if (!isListing(request) || answer.status !== 200) return answer;
      return request.query.has('delimiter') ? answer : withFolders(request, answer, folders, endOf);
    },
  };
}

function parentsOf(name: string): string[] {
  const segments = name.split('/');
  return segments.slice(1).map((_, index) => segments.slice(0, index + 1).join('/'));
}

/** Puts the folders between the blobs of a page: those after the page before, up to its own last blob. */
function withFolders(
  { query }: QuirkRequest,
  answer: QuirkAnswer,
  folders: ReadonlySet<string>,
  endOf: Map<string, string>,
): QuirkAnswer {
  const text = answer.body.toString();
  const entries = new Map<string, string>();
  for (const [blob] of text.matchAll(/<Blob>.*?<\/Blob>/gs)) {
    entries.set(unescape(/<Name>(.*?)<\/Name>/s.exec(blob)?.[1] ?? ''), blob);
  }
  const last = [...entries.keys()].at(-1) ?? '';
  const next = /<NextMarker>(.+?)<\/NextMarker>/.exec(text)?.[1];
  if (next !== undefined) endOf.set(unescape(next), last);
  const begin = endOf.get(query.get('marker') ?? '') ?? '';
  for (const folder of folders) {
    const isHere = folder > begin && (next === undefined || folder <= last);
    if (isHere && folder.startsWith(query.get('prefix') ?? ''))
      entries.set(folder, folderEntry(folder, query));
  }
  const sorted = [...entries].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, entry]) => entry);
  const blobs = `<Blobs>${sorted.join('')}</Blobs>`;
  // As a function, since names may hold what `replace` takes for a pattern.
  return { ...answer, body: Buffer.from(text.replace(/<Blobs>.*<\/Blobs>|<Blobs ?\/>/s, () => blobs)) };
}

/** As recorded from a real account. */
function folderEntry(name: string, query: URLSearchParams): string {
  const date = new Date().toUTCString();
  const metadata =
    query.get('include')?.includes('metadata') === true
      ? '<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>'
      : '';
  return (
    `<Blob><Name>${escape(name)}</Name><Properties><Creation-Time>${date}</Creation-Time>` +
    `<Last-Modified>${date}</Last-Modified><Etag>0x8DF0B41261854C8</Etag><ResourceType>directory</ResourceType>` +
    '<Content-Length>0</Content-Length><Content-Type /><Content-Encoding /><Content-Language /><Content-CRC64 />' +
    '<Content-MD5 /><Cache-Control /><Content-Disposition /><BlobType>BlockBlob</BlobType>' +
    '<AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred><LeaseStatus>unlocked</LeaseStatus>' +
    `<LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties>${metadata}</Blob>`
  );
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function unescape(text: string): string {
  const named: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };
  return text.replaceAll(/&(\w+);/g, (whole, name: string) => named[name] ?? whole);
}
