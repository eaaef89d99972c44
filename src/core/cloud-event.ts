/** A CloudEvent in the JSON format. Source: github.com/cloudevents/spec, v1.0.2, "JSON Event Format". */
export interface CloudEvent {
  readonly specversion: '1.0';
  /** The same when the same thing is told again: whoever hears it twice can tell. */
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string;
  readonly time: string;
  readonly datacontenttype: 'application/json';
  readonly data: unknown;
}

export const CLOUD_EVENT_TYPE = 'application/cloudevents+json; charset=utf-8';

export function cloudEvent(about: {
  readonly id: string;
  /** `notice`, `outcome`, `hook`. */
  readonly kind: string;
  readonly vmName: string | undefined;
  /** Id of the Azure event that it is about. */
  readonly eventId: string;
  /** Epoch ms. */
  readonly at: number;
  readonly data: unknown;
}): CloudEvent {
  return {
    specversion: '1.0',
    id: about.id,
    source: `/evictd/${encodeURIComponent(about.vmName ?? 'unknown')}`,
    type: `evictd.${about.kind}`,
    subject: about.eventId,
    time: new Date(about.at).toISOString(),
    datacontenttype: 'application/json',
    data: about.data,
  };
}
