/*
 * Fuzz target: the guard over request heads. Besides memory errors it looks for answers that contradict each
 * other: a head that is complete must be so whatever follows it, incomplete at every cut before its end, and
 * never both sized and chunked.
 */
#include <stdlib.h>

#include "server/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct csi_http_head head, again;

    switch (csi_http_guard_check(bytes, size, &head)) {
    case CSI_GUARD_COMPLETE:
        if (head.size > size || head.size > CSI_HTTP_HEAD_MAX || (head.has_length && head.chunked))
            abort();
        if (csi_http_guard_check(bytes, head.size, &again) != CSI_GUARD_COMPLETE || again.size != head.size)
            abort();
        for (size_t cut = 0; cut < head.size; cut += 1 + head.size / 64)
            if (csi_http_guard_check(bytes, cut, &again) != CSI_GUARD_INCOMPLETE)
                abort();
        break;
    case CSI_GUARD_INCOMPLETE:
        if (size >= CSI_HTTP_HEAD_MAX)
            abort();
        break;
    case CSI_GUARD_REFUSED:
        if (head.reason == NULL || (head.status != 400 && head.status != 413))
            abort();
        break;
    }
    return 0;
}
