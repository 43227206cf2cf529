# A stand-in: who asks, and whether pmxcfs is there to say what they may.
package PVE::RPCEnvironment;

use strict;
use warnings;

use PVE::Cluster;

my $singleton;

sub setup_default_cli_env {
    my ($class) = @_;
    $singleton = bless({}, $class);
    $singleton->init_request();
}

sub get { return $singleton // die "REST environment not initialized" }

sub init_request {
    PVE::Cluster::cfs_update();
    eval { PVE::Cluster::get_config('user.cfg') };
    die "Unable to load access control list: $@" if $@;
}

1;
