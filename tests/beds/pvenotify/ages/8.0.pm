package PVE::Notify;

# As libpve-notify-perl 8.0.3 and 8.0.4 (Proxmox VE 8.0): a target comes first.
use strict;
use warnings;

my $mail_to_root_target = 'mail-to-root';

sub default_target {
    return $mail_to_root_target;
}

sub notify {
    my ($target, $severity, $title, $message, $properties, $config) = @_;
    die "target '$target' does not exist\n" if $target ne $mail_to_root_target;
}

1;
