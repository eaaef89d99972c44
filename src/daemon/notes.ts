import type { Effect, NoteCode } from '../core/effect.ts';

/** One constant message for each thing the core has to say, so that lines can be searched and counted. */
export const NOTE_MESSAGES: Readonly<Record<NoteCode, string>> = {
  identified: 'own name known, watching',
  'event-noticed': 'event for this VM noticed',
  'event-merged': 'a further event for this VM, served by the same drain',
  'event-ignored-type': 'event of a type without a policy, ignoring',
  'event-of-unknown-owner': 'event announced while the own name is still unknown, waiting for the name',
  'event-tightened': 'less time than before',
  'event-overflow': 'too many events for this VM, ignoring further ones',
  'event-gone': 'event is gone',
  'event-of-other': 'event of another VM, ignoring',
  'peer-noticed': 'another VM is to be evicted, running the hooks for peers',
  phase: 'drain goes on',
  'hook-ended': 'hook ended',
  'hook-skipped': 'hook skipped',
  'set-ended': 'checkpoint of a set ended',
  'ack-withheld': 'event not acknowledged',
  'ack-ended': 'acknowledgement answered',
  'drain-ended': 'drain ended, waiting for the eviction or its withdrawal',
  'drain-resumed': 'restarted in the middle of a drain, going on',
  'drain-closed-by-reboot': 'rebooted since the drain, closing it',
  'watching-again': 'the VM lives on, watching again',
};

type Note = Extract<Effect, { kind: 'note' }>;

/** As it is logged. */
export interface LoggedNote {
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export function noteOf({ code, fields }: Note): LoggedNote {
  return { message: NOTE_MESSAGES[code], fields: { ...fields, code } };
}

/** What a dry run takes as done, so that the whole drain can be seen, though nothing happened and nothing was measured. */
const WOULD: Readonly<Partial<Record<NoteCode, string>>> = {
  'hook-ended': 'would run',
  'set-ended': 'would commit',
  'ack-ended': 'would acknowledge',
};
const MEASURED: ReadonlySet<string> = new Set(['durationMs', 'id', 'files', 'bytes', 'bytesSent']);

/** The same for a dry run, in which no hook succeeds, nothing is committed and no ack accepted. */
export function dryNoteOf(note: Note): LoggedNote {
  const logged = noteOf(note);
  const result = WOULD[note.code];
  if (result === undefined) return logged;
  const known = Object.entries(logged.fields).filter(([name]) => !MEASURED.has(name));
  return { message: 'taken as done in a dry run', fields: { ...Object.fromEntries(known), result } };
}
