/* The model and the machine as JSON: shared by the status route and the events. */
#ifndef CSI_SERVER_DESCRIBE_H
#define CSI_SERVER_DESCRIBE_H

#include <jansson.h>

#include "server/request.h"

/* The `model` member of GET /api/v1/status; NULL: no memory. */
json_t *csi_describe_model(struct csi_server *server);
/* The whole status object. */
json_t *csi_describe_status(struct csi_server *server);

#endif
