import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type Meters = ReturnType<typeof createMeters>;

/** Everything that evictd measures. Labels are closed sets; sets come from the config. */
export function createMeters(registry: Registry) {
  const make = makers(registry);
  return { ...eventMeters(make), ...checkpointMeters(make), ...processMeters(make) };
}

function makers(registry: Registry) {
  const registers = [registry];
  return {
    counter: <L extends string>(name: string, help: string, labels: readonly L[] = []) =>
      new Counter({ name, help, labelNames: [...labels], registers }),
    gauge: <L extends string>(name: string, help: string, labels: readonly L[] = []) =>
      new Gauge({ name, help, labelNames: [...labels], registers }),
    seconds: <L extends string>(name: string, help: string, buckets: number[], labels: readonly L[] = []) =>
      new Histogram({ name, help, buckets, labelNames: [...labels], registers }),
  };
}

type Makers = ReturnType<typeof makers>;

const POLL_BUCKETS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 3, 30, 120];
const WINDOW_BUCKETS = [2, 5, 8, 10, 15, 20, 25, 30, 60, 300, 900];
const WORK_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 300];

function eventMeters({ counter, gauge, seconds }: Makers) {
  return {
    phase: gauge('evictd_phase', 'The phase that evictd is in has the value 1.', ['phase']),
    blind: gauge('evictd_blind', '1 while no notice would be seen: the metadata service does not answer.'),
    polls: counter('evictd_imds_polls_total', 'Polls of the scheduled events, by result.', ['result']),
    pollDuration: seconds('evictd_imds_poll_duration_seconds', 'Time that good polls took.', POLL_BUCKETS),
    lastGoodPoll: gauge(
      'evictd_imds_last_good_poll_timestamp_seconds',
      'When the newest good poll was answered.',
    ),
    notices: counter('evictd_notices_total', 'Events noticed that name this VM.', ['type']),
    noticeWindow: seconds(
      'evictd_notice_window_seconds',
      'Time left when an event that drains was noticed.',
      WINDOW_BUCKETS,
    ),
    withdrawn: counter(
      'evictd_events_withdrawn_total',
      'Events that vanished although they were drained for.',
      ['type'],
    ),
    windowLeft: gauge('evictd_window_left_seconds', 'Time left in the window of the drain.'),
    drains: counter('evictd_drains_total', 'Drains that ended, by outcome.', ['outcome']),
    phaseDuration: seconds(
      'evictd_drain_phase_duration_seconds',
      'Time that the phases of drains took.',
      WORK_BUCKETS,
      ['phase'],
    ),
    hooks: counter(
      'evictd_hook_runs_total',
      'Hooks that ran, by stage (peer-notice: because of other VMs) and result.',
      ['stage', 'result'],
    ),
    hookDuration: seconds('evictd_hook_duration_seconds', 'Time that hooks took.', WORK_BUCKETS, ['stage']),
    notifications: counter('evictd_notifications_total', 'Notifications, by result.', ['result']),
    acks: counter('evictd_acks_total', 'Acknowledgements of events, by result.', ['result']),
  };
}

function checkpointMeters({ counter, gauge, seconds }: Makers) {
  return {
    commits: counter('evictd_checkpoint_commits_total', 'Tries to commit a checkpoint.', [
      'set',
      'reason',
      'result',
    ]),
    commitDuration: seconds(
      'evictd_checkpoint_commit_duration_seconds',
      'Time that committing took, staging what was missing included.',
      WORK_BUCKETS,
      ['set'],
    ),
    bytesSent: counter('evictd_checkpoint_sent_bytes_total', 'Bytes sent for committed checkpoints.', [
      'set',
    ]),
    isProtected: gauge(
      'evictd_protected',
      '1 while a notice would be seen and could save the set: the store can be used, and the set is known.',
      ['set'],
    ),
    setFiles: gauge('evictd_checkpoint_files', 'Files of the set.', ['set']),
    setBytes: gauge('evictd_checkpoint_size_bytes', 'Size of the files of the set.', ['set']),
    setStored: gauge('evictd_checkpoint_stored_bytes', 'Of that size, committed or staged.', ['set']),
    lastCommit: gauge(
      'evictd_checkpoint_last_commit_timestamp_seconds',
      'When the newest checkpoint of the set was committed.',
      ['set'],
    ),
    pending: gauge('evictd_checkpoint_pending_bytes', 'Bytes that a notice now would have to move.'),
    rate: gauge('evictd_checkpoint_upload_bytes_per_second', 'Measured rate of the upload.'),
    storeReady: gauge('evictd_checkpoint_store_ready', '1 while the store can be used.'),
  };
}

/** The names are those that every Prometheus client uses. */
function processMeters({ counter, gauge }: Makers) {
  return {
    buildInfo: gauge('evictd_build_info', 'What is running; always 1.', ['version', 'node_version']),
    stateWritable: gauge('evictd_state_writable', '0 while state.dir takes no journal.'),
    memory: gauge('process_resident_memory_bytes', 'Resident memory of evictd.'),
    cpu: counter('process_cpu_seconds_total', 'CPU time of evictd.'),
    startTime: gauge('process_start_time_seconds', 'When evictd was started.'),
  };
}
