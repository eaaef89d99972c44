/**
 * What Node warns of goes on as it would, but for parts of Node that are experimental: which of those we use is not for
 * whoever runs the program to know.
 */
export function hideExperimentalWarnings(): void {
  const emit = process.emitWarning.bind(process);
  process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
    const [options] = rest;
    const type =
      typeof options === 'object' && options !== null && 'type' in options ? options.type : options;
    if (type !== 'ExperimentalWarning') Reflect.apply(emit, process, [warning, ...rest]);
  };
}
