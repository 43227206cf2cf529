package PVE::Notify;

# As libpve-notify-perl 8.0.7 to 8.0.10 (Proxmox VE 8.2 from June 2024 on, and 8.3): the name of templates, and nothing that is common to them.
use strict;
use warnings;

use PVE::NotifyBed ();

my $send_notification = sub {
    my ($severity, $template_name, $template_data, $fields, $config) = @_;
    PVE::NotifyBed::notify($severity, $template_name, $template_data, $fields);
};

sub notify {
    my ($severity, $template_name, $template_data, $fields, $config) = @_;
    $send_notification->(
        $severity,
        $template_name,
        $template_data,
        $fields,
        $config
    );
}

1;
