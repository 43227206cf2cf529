# A UEFI VM with rng0 and the guard from the beginning, and a device by its mapping: provider bpg/proxmox.
# The mappings that a cluster has: pvehooks mapping export --terraform
# The package's tests check how this is written; the provider itself is not in Debian, so nothing is applied there.

terraform {
  required_providers {
    proxmox = {
      source = "bpg/proxmox"
    }
  }
}

resource "proxmox_virtual_environment_hardware_mapping_pci" "gpu" {
  name = "gpu"
  map = [
    {
      id           = "10de:2204"
      iommu_group  = 14
      node         = "pve1"
      path         = "0000:01:00"
      subsystem_id = "1043:87d0"
    },
  ]
}

resource "proxmox_virtual_environment_vm" "workstation" {
  name      = "workstation"
  node_name = "pve1"
  machine   = "q35"
  bios      = "ovmf"

  # The guard: every node with pvehooks has it in its local storage.
  hook_script_file_id = "local:snippets/pvehooks-guard"

  # Without it, OVMF may not boot from the network; see: pvehooks explain rng-missing-netboot
  rng {
    source    = "/dev/urandom"
    max_bytes = 1024
    period    = 1000
  }

  efi_disk {
    datastore_id      = "local-lvm"
    type              = "4m"
    pre_enrolled_keys = false
  }

  hostpci {
    device  = "hostpci0"
    mapping = proxmox_virtual_environment_hardware_mapping_pci.gpu.name
    pcie    = true
  }

  memory {
    dedicated = 8192
  }
}
