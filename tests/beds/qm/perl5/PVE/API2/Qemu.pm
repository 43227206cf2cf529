# A stand-in that changes a config as `qm set` of the bed does, and takes as long to load as the bed says.
package PVE::API2::Qemu;

use strict;
use warnings;

use Time::HiRes ();

use PVE::Cluster;

while (Time::HiRes::clock() < $PVE::Bed::LOADING_SECONDS) { }

sub update_vm {
    my ($class, $param) = @_;
    my %options = %$param;
    my ($vmid) = map { delete $options{$_} } qw(vmid node);
    my $digest = delete $options{digest};
    PVE::Cluster::call({ argv => ['set', $vmid, (map { ("--$_", $options{$_}) } sort keys %options), '--digest', $digest] });
    return undef;
}

1;
