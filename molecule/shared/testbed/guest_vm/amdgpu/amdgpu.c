// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Stand-in for the driver of amdgpu-dkms. It drives nothing, but what it shows comes from the kernel: it binds to an MI300A, registers the
 * class kfd with /dev/kfd and a topology, and a render node.
 */
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/version.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>

#include "release.h"

unsigned long amdttm_pages_limit(void);

static int gttsize = -1;
module_param(gttsize, int, 0444);
static int cwsr_enable = 1;
module_param(cwsr_enable, int, 0444);

static struct class *kfd_class;
static struct device *kfd_device;
static struct kobject *nodes;
static struct pci_dev *gpu;
static struct drm_device *drm;
static int major;

static const struct file_operations kfd_fops = { .owner = THIS_MODULE, .open = nonseekable_open };

static ssize_t cpu_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "cpu_cores_count %u\nsimd_count 0\nmem_banks_count 1\ngfx_target_version 0\n", num_online_cpus());
}

static ssize_t gpu_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf,
			  "cpu_cores_count 0\nsimd_count 912\nmem_banks_count 1\nsimd_per_cu 4\ngfx_target_version 90402\nvendor_id %u\n"
			  "device_id %u\nlocation_id %u\ndomain %d\ndrm_render_minor %d\nnum_xcc 6\nunique_id 1311768467463790320\n",
			  gpu->vendor, gpu->device, pci_dev_id(gpu), pci_domain_nr(gpu->bus), drm->render->index);
}

static ssize_t bank_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	u64 pages = amdttm_pages_limit() ?: 3ULL << 23; /* 96 GiB, as the driver grants unless told */

	return sysfs_emit(buf, "heap_type 1\nsize_in_bytes %llu\nflags 0\nwidth 8192\nmem_clk_max 1300\n", pages << PAGE_SHIFT);
}

static struct kobj_attribute cpu_properties = __ATTR(properties, 0444, cpu_show, NULL);
static struct kobj_attribute gpu_properties = __ATTR(properties, 0444, gpu_show, NULL);
static struct kobj_attribute bank_properties = __ATTR(properties, 0444, bank_show, NULL);

/* Folders stay until the module goes with the machine: it is never unloaded. */
static struct kobject *folder(const char *name, struct kobject *parent, struct kobj_attribute *file)
{
	struct kobject *made = parent ? kobject_create_and_add(name, parent) : NULL;

	if (made && file && sysfs_create_file(made, &file->attr))
		return NULL;
	return made;
}

DEFINE_DRM_GEM_FOPS(render_fops);

static const struct drm_driver render_driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER,
	.fops = &render_fops,
	.name = "amdgpu",
	.desc = "stand-in for amdgpu",
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
	.date = "20150101",
#endif
	.major = 3,
};

static int amdgpu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct kobject *node;
	int error;

	if (gpu)
		return -EBUSY;
	drm = drm_dev_alloc(&render_driver, &pdev->dev);
	if (IS_ERR(drm))
		return PTR_ERR(drm);
	error = drm_dev_register(drm, 0);
	if (error)
		return error;
	gpu = pdev;
	node = folder("1", nodes, &gpu_properties);
	return folder("0", folder("mem_banks", node, NULL), &bank_properties) ? 0 : -ENOMEM;
}

static const struct pci_device_id ids[] = { { PCI_DEVICE(PCI_VENDOR_ID_ATI, 0x74a0) }, {} };
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver amdgpu_driver = { .name = "amdgpu", .id_table = ids, .probe = amdgpu_probe };

static int __init amdgpu_init(void)
{
	major = register_chrdev(0, "kfd", &kfd_fops);
	if (major < 0)
		return major;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	kfd_class = class_create(THIS_MODULE, "kfd");
#else
	kfd_class = class_create("kfd");
#endif
	if (IS_ERR(kfd_class))
		return PTR_ERR(kfd_class);
	kfd_device = device_create(kfd_class, NULL, MKDEV(major, 0), NULL, "kfd");
	if (IS_ERR(kfd_device))
		return PTR_ERR(kfd_device);
	nodes = folder("nodes", folder("topology", &kfd_device->kobj, NULL), NULL);
	if (!folder("0", nodes, &cpu_properties))
		return -ENOMEM;
	return pci_register_driver(&amdgpu_driver);
}

module_init(amdgpu_init);
MODULE_DESCRIPTION("stand-in for the driver of amdgpu-dkms");
MODULE_VERSION(DRIVER_RELEASE);
MODULE_LICENSE("GPL");
