"""The same sweep as a good user would write it without this system."""
