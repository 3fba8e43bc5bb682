/* Fuzz target: Host and Origin values, and file names of uploads, from three NUL-separated strings. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "server/body.h"
#include "server/origin.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Names of hosts know no case. */
static bool contains(const char *text, const char *word)
{
    for (; *text != '\0'; text++)
        if (strncasecmp(text, word, strlen(word)) == 0)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 3), *host = text, *origin, *list, name[16];
    struct csi_buffer json;

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, bytes, size);
    memset(text + size, 0, 3);
    origin = host + strlen(host) + 1;
    list = (size_t)(origin - text) <= size ? origin + strlen(origin) + 1 : origin;
    /* A loopback server never answers for a name that nobody listed. */
    if (csi_host_allowed(host, NULL, true, NULL) && contains(host, "evil") && !contains(host, "localhost"))
        abort();
    csi_host_allowed(host, "farm", true, (size_t)(list - text) <= size ? list : NULL);
    csi_origin_allowed(origin, host, NULL);
    csi_part_name(host, name, sizeof name);
    if (strlen(name) >= sizeof name || strchr(name, '/') != NULL)
        abort();
    csi_buffer_init(&json);
    csi_buffer_json(&json, host);
    csi_buffer_free(&json);
    free(text);
    return 0;
}
