import type { Clock } from '../base/clock.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { Instance } from '../imds/instance.ts';
import type { Status } from './status.ts';

/** What the checks go by; what an earlier one has learned is there for later ones. */
export interface Patient {
  readonly loaded: LoadedConfig;
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Said while a check takes long. */
  readonly onProgress: (text: string) => void;
  /** Of the running daemon; undefined when there is none. */
  daemon: Status | undefined;
  /** Undefined when the metadata service doesn't say. */
  instance: Instance | undefined;
}
