/** What an endpoint answers, before any fault touches it. */
export interface MockAnswer {
  readonly status: number;
  readonly body: string;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export function json(status: number, value: unknown): MockAnswer {
  return { status, body: JSON.stringify(value), contentType: 'application/json; charset=utf-8' };
}

export function plain(status: number, body: string): MockAnswer {
  return { status, body, contentType: 'text/plain; charset=utf-8' };
}

/** A refusal in the service's form. */
export function refusal(status: number, message: string, more: Record<string, unknown> = {}): MockAnswer {
  return json(status, { error: message, ...more });
}
