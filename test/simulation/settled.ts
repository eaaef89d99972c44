const realImmediate = setImmediate;

/** Resolves when no promise and no immediate is left to run. Whatever waits then, waits for the agenda. */
export interface Settling {
  settled(this: void): Promise<void>;
}

/** Takes over `setImmediate` of this process, to know what of it is under way. */
export function watchImmediates(): Settling {
  let underWay = 0;
  const counting = <T extends unknown[]>(run: (...values: T) => void, ...values: T) => {
    underWay++;
    return realImmediate(() => {
      underWay--;
      run(...values);
    });
  };
  Object.assign(globalThis, { setImmediate: counting });
  const isUnderWay = () => underWay > 0;
  const oneTurn = () => new Promise<void>((resolve) => realImmediate(resolve));
  return {
    async settled() {
      await oneTurn();
      while (isUnderWay()) await oneTurn();
    },
  };
}
