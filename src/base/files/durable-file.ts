import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Replaces a file as a whole: a crash at any point leaves the old content or the new one. Mode 0600.
 * Calls for the same file must not overlap. Rejects with the system's error, and leaves no temporary file then.
 */
export async function replaceFile(file: string, content: Iterable<string>): Promise<void> {
  const temporary = `${file}.new`;
  try {
    // What a crash has left, or somebody's link to a file of ours.
    await rm(temporary, { force: true });
    {
      await using handle = await open(temporary, 'wx', 0o600);
      for (const text of content) await handle.appendFile(text);
      await handle.sync();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  // Without it the rename itself may be lost in a power cut.
  await using folder = await open(dirname(file), 'r');
  await folder.sync();
}
