import type { NoteCode } from '../core/effect.ts';

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
