# A UEFI template with rng0 from the beginning: plugin hashicorp/proxmox. A VM cloned from it keeps its rng0; it gets the guard from the daemon,
# or by `pvehooks attach VMID`, once it has a passed-through device.
# The package's tests check how this is written; the plugin is not in Debian, so nothing is built there.

packer {
  required_plugins {
    proxmox = {
      source  = "github.com/hashicorp/proxmox"
      version = ">= 1.2.0"
    }
  }
}

source "proxmox-iso" "debian" {
  node                 = "pve1"
  vm_name              = "debian"
  template_description = "Debian, UEFI, with rng0"
  machine              = "q35"
  bios                 = "ovmf"

  efi_config {
    efi_storage_pool  = "local-lvm"
    efi_type          = "4m"
    pre_enrolled_keys = false
  }

  rng0 {
    source    = "/dev/urandom"
    max_bytes = 1024
    period    = 1000
  }

  boot_iso {
    iso_file = "local:iso/debian.iso"
    unmount  = true
  }

  scsi_controller = "virtio-scsi-single"
  disks {
    type         = "scsi"
    storage_pool = "local-lvm"
    disk_size    = "16G"
  }

  network_adapters {
    model  = "virtio"
    bridge = "vmbr0"
  }

  ssh_username = "root"
}

build {
  sources = ["source.proxmox-iso.debian"]
}
