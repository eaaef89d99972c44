/** What of the npm package `systemd-notify` is used here; it brings no types of its own. */
declare module 'systemd-notify' {
  function notify(options: { ready?: boolean; status?: string; pid?: number }): Promise<unknown>;
  export = notify;
}
