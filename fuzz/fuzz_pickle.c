/* Fuzz target: the symbolic unpickler, as for checkpoints and as for TorchScript. */
#include <stddef.h>
#include <stdint.h>

#include "formats/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    for (int script = 0; script < 2; script++) {
        struct csi_pickle *pickle;
        struct cs_error error;
        size_t budget = CSI_PICKLE_JSON_BUDGET;

        if (csi_pickle_read(bytes, size, script != 0, &pickle, &error) != CS_OK)
            continue;
        json_decref(csi_pickle_to_json(csi_pickle_root(pickle), &budget));
        (void)csi_pickle_get(csi_pickle_root(pickle), "state_dict");
        csi_pickle_free(pickle);
    }
    return 0;
}
