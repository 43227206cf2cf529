# A stand-in: changes a node's config as `pvenode config set` does.
package PVE::API2::NodeConfig;

use strict;
use warnings;

use PVE::NodeConfig;

sub set_options {
    my ($class, $param) = @_;
    my %options = %$param;
    my ($node, $digest) = map { delete $options{$_} } qw(node digest);
    die "Parameter verification failed.\n" if length($options{description} // '') > 64 * 1024;
    PVE::NodeConfig::lock_config($node, sub {
        my $conf = PVE::NodeConfig::load_config($node);
        die "detected modified configuration - file changed by other user? Try again.\n"
            if $digest && $conf->{digest} && $digest ne $conf->{digest};
        $conf->{$_} = $options{$_} for sort keys %options;
        PVE::NodeConfig::write_config($node, $conf);
    });
    return undef;
}

1;
