/*
 * Log lines on stderr: "2026-01-31T12:00:00.123Z warning message", or one JSON object a line. Used by
 * programs (server, command line); the library itself reports through errors and callbacks and never prints.
 */
#ifndef CSI_BASE_LOG_H
#define CSI_BASE_LOG_H

#include <stdbool.h>

#include "base/error.h"

enum csi_log_level { CSI_LOG_DEBUG, CSI_LOG_INFO, CSI_LOG_WARNING, CSI_LOG_ERROR };

/* Call once before threads start. Default: info, text. */
void csi_log_configure(enum csi_log_level lowest, bool json);
/* One line, written with one call; control characters from outside (of Unicode, not of ASCII alone) are
 * escaped, and what is no UTF-8 is replaced. Thread-safe. */
void csi_log(enum csi_log_level level, const char *format, ...) CSI_PRINTF(2, 3);
/* The same; a line of JSON has `members` too (JSON without the braces: "\"status\":200"). */
void csi_log_with(enum csi_log_level level, const char *members, const char *format, ...) CSI_PRINTF(3, 4);

#endif
