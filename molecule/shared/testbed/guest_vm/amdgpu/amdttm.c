// SPDX-License-Identifier: GPL-3.0-or-later
/* Stand-in for the memory manager that amdgpu-dkms brings under this name: its parameters, and a symbol that ties amdgpu to it. */
#include <linux/module.h>

#include "release.h"

static unsigned long pages_limit;
module_param(pages_limit, ulong, 0644);
static unsigned long page_pool_size;
module_param(page_pool_size, ulong, 0644);

unsigned long amdttm_pages_limit(void);
unsigned long amdttm_pages_limit(void)
{
	return pages_limit;
}
EXPORT_SYMBOL_GPL(amdttm_pages_limit);

MODULE_DESCRIPTION("stand-in for the TTM of amdgpu-dkms");
MODULE_VERSION(DRIVER_RELEASE);
MODULE_LICENSE("GPL");
