# A stand-in.
package PVE::QemuConfig;

use strict;
use warnings;

use PVE::INotify;

sub cfs_config_path {
    my ($class, $vmid) = @_;
    return 'nodes/' . PVE::INotify::nodename() . "/qemu-server/$vmid.conf";
}

sub config_file_lock {
    my ($class, $vmid) = @_;
    return "$PVE::Bed::ROOT/var/lock/qemu-server/lock-$vmid.conf";
}

1;
