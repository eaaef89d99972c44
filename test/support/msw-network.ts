import { HttpRequestInterceptor } from '@mswjs/interceptors/http';
import { http, HttpResponse, type HttpHandler } from 'msw';
import { defineNetwork, InterceptorSource } from 'msw/experimental';

/**
 * Until it is disposed, `handlers` answer all HTTP of this process, whoever sends it: for services that can't be had
 * here. None leaves the machine. A request that no handler takes fails, and disposing throws. `setupServer` would see
 * Node's own clients only; what undici sends would go out.
 */
export function mockNetwork(...handlers: readonly HttpHandler[]): Disposable {
  const nobodys: string[] = [];
  const rest = http.all('*', ({ request }) => {
    nobodys.push(`${request.method} ${request.url}`);
    return HttpResponse.error();
  });
  const network = defineNetwork({
    sources: [new InterceptorSource({ interceptors: [new HttpRequestInterceptor()] })],
    handlers: [...handlers, rest],
    onUnhandledFrame: 'error',
    context: { quiet: true },
  });
  network.enable();
  return {
    [Symbol.dispose]() {
      network.disable();
      if (nobodys.length > 0) throw new Error(`no handler takes ${nobodys.join(', ')}`);
    },
  };
}
