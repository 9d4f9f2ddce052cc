// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * A PCI function with the ids of an AMD GPU, on a host bridge in software: QEMU has no device that could be given them. Everything above
 * the configuration space is the kernel's own: /sys/bus/pci/devices, the uevent that loads a driver by its alias, binding, lspci.
 * It has no memory regions, so a driver for the real hardware gives up on it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/pci.h>
#include <asm/unaligned.h>

static ushort device_id = 0x74a0;
module_param(device_id, ushort, 0444);
MODULE_PARM_DESC(device_id, "PCI device id, AMD Instinct MI300A unless told");

static u8 config[PCI_CFG_SPACE_SIZE];
static struct pci_sysdata sysdata = { .domain = 1, .node = NUMA_NO_NODE };
static struct pci_bus *bus;

static int bedgpu_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *value)
{
	*value = ~0;
	if (devfn || bus->number != 1)
		return PCIBIOS_DEVICE_NOT_FOUND;
	*value = 0;
	if (where + size <= sizeof(config))
		memcpy(value, config + where, size);
	return PCIBIOS_SUCCESSFUL;
}

static int bedgpu_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 value)
{
	if (!devfn && where == PCI_COMMAND && size == 2)
		put_unaligned_le16(value & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER), config + where);
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops ops = { .read = bedgpu_read, .write = bedgpu_write };

static int __init bedgpu_init(void)
{
	LIST_HEAD(resources);

	pr_debug("showing 1002:%04x\n", device_id);
	put_unaligned_le16(PCI_VENDOR_ID_ATI, config + PCI_VENDOR_ID);
	put_unaligned_le16(device_id, config + PCI_DEVICE_ID);
	put_unaligned_le16(0x1200 /* processing accelerator */, config + PCI_CLASS_DEVICE);
	put_unaligned_le16(PCI_VENDOR_ID_ATI, config + PCI_SUBSYSTEM_VENDOR_ID);
	put_unaligned_le16(device_id, config + PCI_SUBSYSTEM_ID);
	pci_lock_rescan_remove();
	bus = pci_scan_root_bus(NULL, 1, &ops, &sysdata, &resources);
	if (bus)
		pci_bus_add_devices(bus);
	pci_unlock_rescan_remove();
	return bus ? 0 : -ENODEV;
}

/* No exit: a bus that drivers hang on stays until the machine goes. */
module_init(bedgpu_init);
MODULE_DESCRIPTION("PCI function with the ids of an AMD GPU");
MODULE_LICENSE("GPL");
