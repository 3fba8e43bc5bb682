/* Host and Origin checks: see origin.h. */
#include "server/origin.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* The name in "name", "name:80", "[::1]", "[::1]:80". False: none of these. */
static bool host_name(const char *host, char *name, size_t size)
{
    const char *end;
    size_t length;

    if (host[0] == '[') {
        host++;
        end = strchr(host, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return false;
    } else {
        end = host + strcspn(host, ":");
    }
    length = (size_t)(end - host);
    if (length == 0 || length >= size)
        return false;
    memcpy(name, host, length);
    name[length] = '\0';
    end += *end == ']';
    if (*end == ':')
        for (end++; *end != '\0'; end++)
            if (!isdigit((unsigned char)*end))
                return false;
    return true;
}

static bool listed(const char *name, const char *list)
{
    size_t length = strlen(name);

    while (list != NULL && *list != '\0') {
        size_t word;

        list += strspn(list, ", ");
        word = strcspn(list, ", ");
        if (word == length && strncasecmp(list, name, length) == 0)
            return true;
        list += word;
    }
    return false;
}

static bool is_address(const char *name)
{
    unsigned char binary[16];

    return inet_pton(AF_INET, name, binary) == 1 || inet_pton(AF_INET6, name, binary) == 1;
}

static bool is_localhost(const char *name)
{
    size_t length = strlen(name);

    if (length > 0 && name[length - 1] == '.')
        length--;
    return (length == 9 && strncasecmp(name, "localhost", 9) == 0) ||
           (length > 10 && strncasecmp(name + length - 10, ".localhost", 10) == 0);
}

const char *csi_target_path(const char *target, char authority[CSI_HTTP_HOST_MAX + 1])
{
    size_t length;

    authority[0] = '\0';
    if (strncasecmp(target, "http://", 7) != 0)
        return target;
    target += 7;
    length = strcspn(target, "/");
    if (length <= CSI_HTTP_HOST_MAX) {
        memcpy(authority, target, length);
        authority[length] = '\0';
    }
    return target[length] == '\0' ? "/" : target + length;
}

bool csi_host_allowed(const char *host, const char *bound, bool loopback, const char *allowed)
{
    char name[256];

    if (host == NULL)
        return true;
    if (!host_name(host, name, sizeof name))
        return false;
    if (is_address(name) || is_localhost(name) || (bound != NULL && strcasecmp(name, bound) == 0) ||
        listed(name, allowed))
        return true;
    return !loopback && (allowed == NULL || allowed[0] == '\0');
}

bool csi_origin_allowed(const char *origin, const char *host, const char *site)
{
    /* The browser's own word, which no page can forge. It holds behind a proxy too, where Host may be the
     * proxy's name for this server; whether that Host is served at all is csi_host_allowed's to say. */
    if (site != NULL && strcasecmp(site, "same-origin") == 0)
        return true;
    if (site != NULL && strcasecmp(site, "none") != 0)
        return false;
    if (origin == NULL)
        return true;
    if (host == NULL)
        return false;
    if (strncasecmp(origin, "http://", 7) == 0)
        origin += 7;
    else if (strncasecmp(origin, "https://", 8) == 0)
        origin += 8; /* a proxy in front may speak TLS */
    else
        return false; /* "null" and foreign schemes */
    return strcasecmp(origin, host) == 0;
}
