/** Columns as wide as their widest cell. A row that is shorter than the head runs over the columns. */
export function tableText(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const whole = [head, ...rows.filter(({ length }) => length === head.length)];
  const widths = head.map((_, column) => Math.max(...whole.map((row) => row[column]?.length ?? 0)));
  return [head, ...rows]
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
